package schema

import "slices"

// Models of the remaining routes.
var (
	ExtrasSingle = Model{"ExtrasSingleImageRequest", slices.Concat(extras, []Field{
		{Name: "image", Kind: String, Default: ""},
	})}
	ExtrasBatch = Model{"ExtrasBatchImagesRequest", slices.Concat(extras, []Field{
		{Name: "imageList", Kind: Models, Required: true, Item: &FileData},
	})}
	FileData = Model{"FileData", []Field{
		{Name: "data", Kind: String, Required: true},
		{Name: "name", Kind: String, Required: true},
	}}
	PNGInfo = Model{"PNGInfoRequest", []Field{
		{Name: "image", Kind: String, Required: true},
	}}
	Interrogate = Model{"InterrogateRequest", []Field{
		{Name: "image", Kind: String, Default: ""},
		{Name: "model", Kind: String, Default: "clip"},
	}}
)

var extras = []Field{
	{Name: "resize_mode", Kind: Integer, Default: int64(0), Permitted: []int64{0, 1}},
	{Name: "show_extras_results", Kind: Boolean, Default: true},
	{Name: "gfpgan_visibility", Kind: Number, Default: int64(0), GE: int64(0), LE: int64(1)},
	{Name: "codeformer_visibility", Kind: Number, Default: int64(0), GE: int64(0), LE: int64(1)},
	{Name: "codeformer_weight", Kind: Number, Default: int64(0), GE: int64(0), LE: int64(1)},
	{Name: "upscaling_resize", Kind: Number, Default: int64(2), GT: int64(0)},
	{Name: "upscaling_resize_w", Kind: Integer, Default: int64(512), GE: int64(1)},
	{Name: "upscaling_resize_h", Kind: Integer, Default: int64(512), GE: int64(1)},
	{Name: "upscaling_crop", Kind: Boolean, Default: true},
	{Name: "upscaler_1", Kind: String, Default: "None"},
	{Name: "upscaler_2", Kind: String, Default: "None"},
	{Name: "extras_upscaler_2_visibility", Kind: Number, Default: int64(0), GE: int64(0), LE: int64(1)},
	{Name: "upscale_first", Kind: Boolean, Default: false},
}
