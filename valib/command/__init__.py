"""The commands of `valib`, a module each; `valib.command.cli` puts them together. Heavy modules are imported inside them."""
