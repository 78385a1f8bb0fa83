package openai_test

import (
	"testing"

	"sdworker/api/openai"
	"sdworker/api/v1/v1test"
)

func TestDescription(t *testing.T) {
	v1test.Description(t, handler(t), openai.Paths(), "there is no /")
}
