package models_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/models"
)

// Detectors are taken as they are published: pickles of ultralytics, where no other
// pickle is allowed.
func TestDetectorsOfUltralytics(t *testing.T) {
	for _, name := range []string{"detect.pt", "segment.pt"} {
		info, err := models.Check("../inference/detect/testdata/"+name, models.Detector, models.CheckOptions{})
		require.NoError(t, err)
		require.Equal(t, models.Detector, info.Kind)
		require.Equal(t, 192, info.DetectorSide(), "the size of its training, which a prediction goes by")
		_, err = models.Check(info.Path, models.VAE, models.CheckOptions{})
		require.ErrorContains(t, err, "holds a YOLO detector, not a VAE")
	}
}
