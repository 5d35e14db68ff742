"""The numbers of each chapter, a module a chapter: from records and fits to :class:`valib.pages.findings.Findings`."""
