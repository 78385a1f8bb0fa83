package runpod

// WatchClock lets tests freeze a worker without freezing the test.
var WatchClock = watchClock
