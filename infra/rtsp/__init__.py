"""An RTSP camera made of a video file, for the demo and the tests."""
