"""Which sample comes when: orders, drawn fairly and again when needed."""
