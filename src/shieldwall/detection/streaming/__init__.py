"""All continuous rules over each stored group of events in one pass.

A rule's query becomes SQL, and what a row must hold for the rule to find it: texts in columns (`needs`). One
scan of a table looks for the texts of all rules at once (`scan`); what it finds in a row names the few rules
that may find the row; only those are evaluated, by their own SQL, and only there (`evaluation`).
"""
