"""What one takes away from the page: pictures, numbers, reports, and the lines that repeat a view."""
