package models

import (
	"errors"
	"fmt"

	"sdworker/formats/embedding"
	"sdworker/sd1"
)

// embeddingProblem demands vectors of the text encoder's width. They are few, so that
// their values are read, too.
func (i *Info) embeddingProblem() string {
	t := i.vectors()
	if len(t.Shape) == 0 || len(t.Shape) > 2 || t.Shape[len(t.Shape)-1] != sd1.TextWidth {
		return fmt.Sprintf("holds vectors of shape %v; accepted are [n,%d]", t.Shape, sd1.TextWidth)
	}
	if _, err := embedding.Read(i.Path); errors.Is(err, embedding.ErrNoNumbers) {
		return embedding.ErrNoNumbers.Error()
	}
	return ""
}
