"""One file for each Sandbox API: its objects judged, our intents as its patches. All pure."""
