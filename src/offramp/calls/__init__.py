"""One request to one model, as a chain of small parts: ledger, deadline, retries, booking with its limiter, transport.

Every part is a `Sender` around another one. `open_caller` puts them together; nothing else talks to a model.
"""
