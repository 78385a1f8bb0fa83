package sdapi_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/api/sdapi/sdapitest"
	"sdworker/inference"
	"sdworker/inference/imageio"
	"sdworker/models"
	"sdworker/models/catalog"
)

// withIPAdapter tells of an IP-Adapter, and of an image encoder if there is one.
func withIPAdapter(f *fixture, encoder bool) {
	told := func(kind models.Kind, name string) catalog.Made {
		return catalog.Made{File: catalog.File{Kind: kind, Path: "/models/" + string(kind) + "/" + name, Name: name}}
	}
	files := append(sdapitest.Files(sdapitest.Checkpoint("a.safetensors", "")), told(models.IPAdapter, "ip-adapter-plus_sd15.safetensors"))
	if encoder {
		files = append(files, told(models.ImageEncoder, "clip_h.pth"))
	}
	f.catalog.Tell(files...)
}

// A depth network is found by the version in its name, and runs in a turn of the queue.
func TestDepthModules(t *testing.T) {
	f := start(t)
	picture := encoded(t, 32, 16)
	send := func(module string) reply {
		unit := map[string]any{"model": "canny", "module": module, "image": picture}
		return f.post("/sdapi/v1/txt2img", small(map[string]any{"alwayson_scripts": map[string]any{"controlnet": map[string]any{"args": []any{unit}}}}))
	}
	detect := func(module string) reply {
		return f.post("/controlnet/detect", map[string]any{"controlnet_module": module, "controlnet_input_images": []string{picture, picture}, "controlnet_processor_res": 96})
	}
	for _, got := range []reply{send("depth_anything_v2"), detect("depth_anything_v2")} {
		require.Equal(t, 422, got.status)
		require.Contains(t, string(got.body), "put depth_anything_v2_vitl.safetensors, or its small one, into models/depth_anything")
	}
	got := send("depth_midas")
	require.Equal(t, 422, got.status)
	require.Contains(t, string(got.body), "use depth_anything, which is built in")

	told := func(name string) catalog.Made {
		return catalog.Made{File: catalog.File{Kind: models.Depth, Path: "/models/depth_anything/" + name, Name: name}}
	}
	f.catalog.Tell(append(sdapitest.Files(sdapitest.Checkpoint("a.safetensors", "")), told("depth_anything_v2_vits.safetensors"), told("depth_anything_vits14.pth"))...)
	for module, file := range map[string]string{"depth_anything": "depth_anything_vits14.pth", "depth_anything_v2": "depth_anything_v2_vits.safetensors"} {
		send(module).generated(t)
		unit := f.gen.Last().Control[0]
		require.Equal(t, []string{module, "/models/depth_anything/" + file}, []string{unit.Module, unit.Network})
		o := detect(module).object(t)
		require.Len(t, o["images"], 2)
		req := f.gen.Last()
		require.True(t, req.MapsOnly)
		require.NoError(t, req.Check())
		require.Equal(t, []any{"/models/a.safetensors", "/models/depth_anything/" + file, 96}, []any{req.Files.Checkpoint, req.Control[0].Network, req.Control[0].Resolution})
	}
}

func TestIPAdapterUnits(t *testing.T) {
	f := start(t)
	withIPAdapter(f, true)
	require.Equal(t, []any{"canny [01234567]", "ip-adapter-plus_sd15"}, f.get("/controlnet/model_list").object(t)["model_list"])
	types := f.get("/controlnet/control_types").object(t)["control_types"].(map[string]any)["IP-Adapter"].(map[string]any)
	require.Equal(t, []any{"none", "ip-adapter-auto", "ip-adapter_clip_h"}, types["module_list"])
	require.Equal(t, []any{"None", "ip-adapter-plus_sd15"}, types["model_list"])
	require.Equal(t, []any{"ip-adapter-auto", "ip-adapter-plus_sd15"}, []any{types["default_option"], types["default_model"]})

	picture, mask := encoded(t, 32, 16), encoded(t, 32, 16)
	send := func(unit map[string]any) reply {
		return f.post("/sdapi/v1/txt2img", small(map[string]any{"alwayson_scripts": map[string]any{"controlnet": map[string]any{"args": []any{unit}}}}))
	}
	for _, module := range []string{"ip-adapter_clip_sd15", "ip-adapter_clip_h", "ip-adapter-auto", "CLIP-ViT-H (IPAdapter)"} {
		g := send(map[string]any{
			"enabled": true, "module": module, "model": "ip-adapter-plus_sd15", "image": picture, "mask_image": mask, "weight": 0.6, "guidance_end": 0.5,
		}).generated(t)
		unit := f.gen.Last().Control[0]
		require.Equal(t, "/models/ip-adapter/ip-adapter-plus_sd15.safetensors", unit.Model)
		require.Equal(t, "/models/image-encoder/clip_h.pth", unit.Encoder)
		require.Equal(t, []float64{0.6, 0, 0.5}, []float64{unit.Weight, unit.Start, unit.End})
		require.NotNil(t, unit.Mask, "what is masked is not seen")
		require.Contains(t, g.info["infotexts"].([]any)[0], "Module: "+module+", Model: ip-adapter-plus_sd15, Weight: 0.6, Resize Mode: Crop and Resize, Processor Res: 512, Threshold A: 0.5")
		require.Empty(t, g.info["notes"])
	}
	g := send(map[string]any{"model": "ip-adapter-plus_sd15", "module": "ip-adapter-auto", "image": picture, "hr_option": "Low res only"}).generated(t)
	require.Contains(t, g.info["notes"].([]any)[0], "acts in both passes")

	weights := make([]float64, inference.ImageLayers)
	send(map[string]any{"model": "ip-adapter-plus_sd15", "module": "ip-adapter-auto", "image": picture, "advanced_weighting": weights}).generated(t)
	require.Len(t, f.gen.Last().Control[0].LayerWeights, 16)

	two := []any{map[string]any{"image": picture, "mask": mask}, map[string]any{"image": encoded(t, 8, 24), "mask": ""}}
	send(map[string]any{"model": "ip-adapter-plus_sd15", "module": "ip-adapter-auto", "image": two}).generated(t)
	unit := f.gen.Last().Control[0]
	require.NotNil(t, unit.Mask)
	require.Len(t, unit.More, 1)
	require.Equal(t, []any{8, 24, (*imageio.Gray)(nil)}, []any{unit.More[0].Image.W, unit.More[0].Image.H, unit.More[0].Mask})
	for want, unit := range map[string]map[string]any{
		"a ControlNet unit takes one image, 2 were sent": {"model": "canny", "module": "canny", "image": two},
		"takes at most 16 images, 18 were sent":          {"model": "ip-adapter-plus_sd15", "module": "ip-adapter-auto", "image": slices.Repeat(two, 9)},
		"has a mask and no image":                        {"model": "ip-adapter-plus_sd15", "module": "ip-adapter-auto", "image": []any{two[0], map[string]any{"mask": mask}}},
		"are objects with":                               {"model": "ip-adapter-plus_sd15", "module": "ip-adapter-auto", "image": append(two[:1:1], picture)},
		"pickled Python objects, which are not read here: send the pictures themselves as image": {
			"model": "ip-adapter-plus_sd15", "module": "ip-adapter-auto", "image": picture, "ipadapter_input": []any{"gAJ9"},
		},
	} {
		got := send(unit)
		require.Equal(t, 422, got.status, string(got.body))
		var body struct{ Detail, Errors any }
		require.NoError(t, json.Unmarshal(got.body, &body))
		require.Contains(t, fmt.Sprint(body), want)
	}

	for want, unit := range map[string]map[string]any{
		"ip-adapter-plus_sd15.safetensors is an IP-Adapter, which needs module ip-adapter_clip_sd15, not none": {"model": "ip-adapter-plus_sd15"},
		"module ip-adapter_clip_sd15 is for IP-Adapters, and canny.safetensors is a ControlNet":                {"model": "canny", "module": "ip-adapter_clip_h"},
		"advanced_weighting must be a list of 16 numbers":                                                      {"model": "ip-adapter-plus_sd15", "module": "ip-adapter-auto", "advanced_weighting": []int{1}},
		"needs a face recognition network (InsightFace) that is not built in":                                  {"model": "ip-adapter-plus_sd15", "module": "ip-adapter_face_id"},
		"is for Stable Diffusion XL": {"model": "ip-adapter-plus_sd15", "module": "ip-adapter_clip_sdxl"},
	} {
		unit["image"] = picture
		got := send(unit)
		require.Equal(t, 422, got.status)
		require.Contains(t, string(got.body), want)
	}
	withIPAdapter(f, false)
	got := send(map[string]any{"model": "ip-adapter-plus_sd15", "module": "ip-adapter-auto", "image": picture})
	require.Equal(t, 422, got.status)
	require.Contains(t, string(got.body), "needs the image encoder CLIP ViT-H, which is not there: put h94/IP-Adapter's models/image_encoder/model.safetensors")
}
