package jobs_test

import (
	"testing"

	"sdworker/api/jobs"
	"sdworker/api/v1/v1test"
)

func TestDescription(t *testing.T) { v1test.Description(t, handler(t), jobs.Paths(), `"Not Found"`) }
