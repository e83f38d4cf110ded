# SPDX-License-Identifier: Apache-2.0
"""The unit files and the Debian package (make test-packaging, as root)."""
