// Package embedding reads textual inversion embeddings: vectors that a name in a
// prompt stands for, in any of the files that they come in.
package embedding

// Embedding is a textual inversion embedding: vectors that a name in a prompt stands for.
type Embedding struct {
	Name    string
	Vectors int       // places it takes in a chunk
	Shape   int       // values of one vector; 768 for Stable Diffusion 1.x, both text encoders together for XL
	Values  []float32 // [Vectors, Shape]

	// What the training program noted in the file, nil where it did not.
	Step           *int
	Checkpoint     *string // short hash of the checkpoint
	CheckpointName *string
}
