"""A web page that shows what a served network predicts for photographs, and why."""
