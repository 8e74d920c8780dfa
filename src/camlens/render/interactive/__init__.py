"""Interactive overlays in a single HTML file."""
