# SPDX-License-Identifier: Apache-2.0
"""What each command takes and does, a module for each; ``exporter.cli.main`` puts them together."""
