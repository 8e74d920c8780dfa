"""What a run's columns say: pure functions of arrays with one value per image."""
