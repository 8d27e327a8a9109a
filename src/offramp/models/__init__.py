"""Which models there are, what they cost, when they retire, and serving the embedded ones on this machine.

`catalogue.resolve` turns what a space file names into a `Model`; `embedded` fetches and checks the files of the
embedded models; `server.LocalServers` serves them on loopback.
"""
