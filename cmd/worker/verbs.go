package main

// root is the command line's tree.
var root = &verb{
	name: "worker", short: "worker makes Stable Diffusion 1.5 pictures and speaks the AUTOMATIC1111 API.",
	verbs: []*verb{generateVerb, serveVerb, runpodVerb, modelsVerb, benchVerb, versionVerb, envVerb, engineVerb},
	long:  "Every flag of the commands with an engine is also an environment variable: --models-dir is MODELS_DIR.",
}
