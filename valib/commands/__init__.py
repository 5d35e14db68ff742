"""The commands of `valib`, a module each; `valib.cli` puts them together. Heavy modules are imported inside them."""
