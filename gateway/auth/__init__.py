"""Who may reach which sandbox. Decided before any wake, closed on doubt, bound to the uid."""
