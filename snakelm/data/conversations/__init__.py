"""Conversations read, rendered by the chat template and packed for instruction tuning."""
