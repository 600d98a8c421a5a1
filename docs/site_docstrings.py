"""An extension of griffe, which reads docstrings for the site."""

import griffe


class Examples(griffe.Extension):
    """Shows examples as code: the section is called `Example` here, as in Keras."""

    def on_object(self, *, obj, **kwargs):
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
