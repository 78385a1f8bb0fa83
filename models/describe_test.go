package models_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sdworker/fault"
	"sdworker/formats/safetensors"
	"sdworker/models"
	"sdworker/models/modelstest"
	"sdworker/models/synth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTraining(t *testing.T) {
	f := modelstest.F16
	path := modelstest.Write(t, filepath.Join(t.TempDir(), "l"), map[string]string{
		"ss_network_alpha": "8.0", "ss_network_module": "networks.lora", "ss_sd_model_name": "base.safetensors", "ss_resolution": "(512, 512)",
		"ss_num_train_images": "40", "ss_num_epochs": "10",
		"ss_tag_frequency": `{"10_cat":{"cat":30," dog":2},"5_more":{"cat":1,"dog":3,"ant":5}}`,
	},
		f("lora_unet_a.lora_down.weight", 16, 320), f("lora_unet_a.lora_up.weight", 320, 16),
		f("lora_unet_b.lora_down.weight", 16, 320), f("lora_unet_b.lora_up.weight", 320, 16),
		f("lora_te_c.lora_down.weight", 4, 768), f("lora_te_c.lora_up.weight", 768, 4))
	info, err := models.Inspect(path)
	require.NoError(t, err)
	require.Equal(t, models.Training{
		Rank: 16, Alpha: 8, Module: "networks.lora", BaseModel: "base.safetensors", Resolution: "(512, 512)", Images: "40", Epochs: "10",
		TextPart: true, UNetPart: true,
		Tags: []models.Tag{{Text: "cat", Count: 31}, {Text: "ant", Count: 5}, {Text: "dog", Count: 5}},
	}, info.Training())

	bare := modelstest.Write(t, filepath.Join(t.TempDir(), "l"), map[string]string{"ss_tag_frequency": "broken"}, f("text_encoder.x.lora_A.weight", 2, 768), f("text_encoder.x.lora_B.weight", 768, 2))
	info, err = models.Inspect(bare)
	require.NoError(t, err)
	require.Equal(t, models.Training{Rank: 2, TextPart: true}, info.Training())
}

func TestComponents(t *testing.T) {
	path := modelstest.Write(t, filepath.Join(t.TempDir(), "c"), nil, append(parameters(t, synth.Options{Size: synth.Full}, nil),
		modelstest.F16("model_ema.x", 3), modelstest.F16("alphas_cumprod", 1000))...)
	info, err := models.Inspect(path)
	require.NoError(t, err)
	require.Equal(t, []models.Component{
		{Name: "unet", Tensors: 686, Values: 859_520_964},
		{Name: "text encoder", Tensors: 196, Values: 123_060_480},
		{Name: "vae", Tensors: 248, Values: 83_653_863},
		{Name: "ema copy", Tensors: 1, Values: 3},
		{Name: "other", Tensors: 1, Values: 1000},
	}, info.Components())
	require.False(t, info.Synthetic())
}

func TestVerify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "e.safetensors")
	require.NoError(t, synth.Write(context.Background(), path, synth.Options{Kind: synth.Embedding}))
	r, err := models.Verify(context.Background(), path, "")
	require.NoError(t, err)
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("%x", sha256.Sum256(raw)), r.SHA256)
	require.Zero(t, r.Bad)
	require.True(t, r.Info.Synthetic())

	_, err = models.Verify(context.Background(), path, r.SHA256)
	require.NoError(t, err)
	_, err = models.Verify(context.Background(), path, "00")
	require.Equal(t, fault.Invalid, fault.CodeOf(err))

	raw, err = os.ReadFile(path)
	require.NoError(t, err)
	raw[len(raw)-1], raw[len(raw)-3] = 0x7c, 0xff // infinity and NaN in half precision
	require.NoError(t, os.WriteFile(path, raw, 0o600))
	r, err = models.Verify(context.Background(), path, "")
	require.NoError(t, err)
	require.EqualValues(t, 2, r.Bad)
	require.Equal(t, "emb_params", r.FirstBad)

	require.NoError(t, os.Truncate(path, int64(len(raw)-1)))
	_, err = models.Verify(context.Background(), path, "")
	require.ErrorContains(t, err, "truncated")

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = models.Verify(ctx, modelstest.Write(t, path, nil, safetensors.Tensor{Name: "x", DType: safetensors.F32, Shape: []int64{5 << 20}}), "")
	require.Equal(t, fault.Canceled, fault.CodeOf(err))
}
