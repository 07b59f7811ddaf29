"""The built-in parts. They come in the main wheel, but are found and chosen like anybody else's plugin."""
