"""What all pages share: one base template, one style sheet, one way to render and to refuse."""
