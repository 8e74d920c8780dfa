"""An audit run opened by the studio, and the answers of its pages."""
