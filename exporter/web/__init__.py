# SPDX-License-Identifier: Apache-2.0
"""The web server, from the socket to the page.

``addresses`` and ``sockets`` listen, ``server`` accepts, ``stream`` moves bytes (plain or TLS),
``http_connection`` speaks HTTP, ``handler`` authenticates and limits requests, ``app`` routes them
to pages. ``config``, ``tls_config`` and ``yaml_file`` read the web configuration file; ``reload``
reloads it.
"""
