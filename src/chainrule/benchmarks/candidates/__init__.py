"""Those who do the works: chainrule and its peers, one file each, with the same arithmetic in the idiom of each.

A file has functions of a `Problem` that prepare a `Run`: `training`, `prediction`, or several of them.
"""
