# SPDX-License-Identifier: Apache-2.0
"""What a user would pick instead, each as that user would write it."""
