"""An app on the realtime layer: consumers the Channels way and ours, and views that publish."""
