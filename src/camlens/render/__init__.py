"""From arrays to pictures: colour maps, overlays, figures. Knows no model."""
