"""From an image to a mask on the scanner's own grid."""
