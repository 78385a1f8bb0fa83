package sdapi

// Replies and Requests are the files as they are embedded.
var Replies, Requests = string(replies), string(requests)
