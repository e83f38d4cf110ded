# SPDX-License-Identifier: Apache-2.0
"""Recordings of events and observations: writer, reader, replay."""
