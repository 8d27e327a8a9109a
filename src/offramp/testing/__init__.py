"""Fakes that users may build their own tests on: transports without a network, and a scripted HTTP server."""
