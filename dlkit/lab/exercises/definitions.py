"""What a source defines, however it is laid out.

Apart from `editions`, because every check of an answer wants this, and importing nbformat takes
longer than importing PyTorch: the grammar of addresses in its dependencies is compiled each time.
"""

import ast


def definitions(source: str) -> dict[str, str]:
    """Return each function and class of a source by its name, without comments.

    Args:
        source: which is run nowhere; nothing is found where it is no Python.

    Example:
        >>> definitions("def one(): return 1") == definitions("def one():  return (1)  # one")
        True
        >>> list(definitions("class Rows: pass")), definitions("1 +")
        (['Rows'], {})
    """
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return {}
    return {n.name: ast.dump(n) for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
