# SPDX-License-Identifier: Apache-2.0
"""The web side, from the socket up to the page.

``addresses`` and ``sockets`` listen, ``server`` accepts, ``stream`` moves bytes (plain or TLS),
``conversation`` speaks HTTP, ``gate`` lets a request in or not, ``app`` answers it. ``config`` and
its neighbours read the web configuration file, ``reload`` keeps it current.
"""
