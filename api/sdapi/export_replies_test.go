package sdapi

// Replies is replies.json as it is embedded.
var Replies = string(replies)
