# SPDX-License-Identifier: Apache-2.0
"""The command line, the collector and the web server."""
