# SPDX-License-Identifier: Apache-2.0
"""The census: which huge pages are optimized now, read from the kernel's own lists of them."""
