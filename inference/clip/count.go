package clip

import "sdworker/inference/prompt"

// CountTokens returns what a token counter beside a prompt shows: the tokens of the
// longest text that the prompt stands for at any of the steps, and the room that its chunks
// have. Only a positive prompt is divided at AND. The prompt is one after styles and
// comments; network tags do not count.
func CountTokens(text string, positive bool, steps int, options Options) (tokens, limit int, err error) {
	text, _ = prompt.ExtractNetworks(text)
	parts := []prompt.Part{{Text: text}}
	if positive {
		parts = prompt.SplitAND(text)
	}
	var texts []string
	for _, part := range parts {
		for _, entry := range prompt.Schedule(part.Text, prompt.Pass{Steps: steps}) {
			texts = append(texts, entry.Text)
		}
	}
	batch, err := Encode(texts, options)
	if err != nil {
		return 0, 0, err
	}
	for _, t := range batch.Texts {
		if limit == 0 || t.Tokens > tokens {
			tokens, limit = t.Tokens, t.Limit()
		}
	}
	return tokens, limit, nil
}
