"""Alerts with their evidence, and the incidents that gather them."""
