package models

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"

	"sdworker/fault"
	"sdworker/formats"
	"sdworker/formats/safetensors"
	"sdworker/models/adapter"
	"sdworker/sd1"
)

// OpenedLoRA is a LoRA that passed the checks, open for reading its values.
type OpenedLoRA struct {
	*adapter.File
	io.ReaderAt
	Disk *os.File
	Stat os.FileInfo
}

// Close closes the file.
func (o *OpenedLoRA) Close() error { return o.Disk.Close() }

// OpenLoRA opens a LoRA that can be used here, at least in part. The error is that
// of Check.
func OpenLoRA(path string, o CheckOptions) (*OpenedLoRA, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	opened, err := openLoRA(f, path, o)
	if err != nil {
		f.Close()
		return nil, err
	}
	return opened, nil
}

func openLoRA(f *os.File, path string, o CheckOptions) (*OpenedLoRA, error) {
	stat, err := f.Stat()
	if err != nil {
		return nil, openError(path, err)
	}
	info, err := inspectOpen(f, path, stat.Size())
	if err != nil {
		return nil, err
	}
	if err := info.Fits(LoRA, o); err != nil {
		return nil, err
	}
	list := info.adapter()
	if info.Format == formats.Pickle { // only its own reader finds values that do not lie in order
		if list, err = adapter.OpenTorch(f, stat.Size()); err != nil {
			return nil, &fault.Error{Code: fault.Internal, Op: "models", Msg: "cannot read " + path, Err: err}
		}
	}
	if config := peftConfig(path); config != nil {
		list.Configure(config)
	}
	return &OpenedLoRA{File: list, ReaderAt: f, Disk: f, Stat: stat}, nil
}

// peftConfig reads the settings that PEFT stores beside its tensors: adapter_config.json
// beside adapter_model.*, or NAME.json where that is such a file and no other program's
// notes. It returns nil where there are none.
func peftConfig(path string) []byte {
	const most = 1 << 20
	plain := strings.TrimSuffix(path, filepath.Ext(path))
	beside := plain + ".json"
	if filepath.Base(plain) == "adapter_model" {
		beside = filepath.Join(filepath.Dir(path), "adapter_config.json")
	}
	f, err := openRegular(beside)
	if err != nil {
		return nil
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most))
	var config struct {
		Type string `json:"peft_type"`
	}
	if err != nil || json.Unmarshal(text, &config) != nil || config.Type == "" {
		return nil
	}
	return text
}

// adapter finds out what the tensors of a LoRA change.
func (i *Info) adapter() *adapter.File {
	list := make([]*adapter.Tensor, len(i.Tensors))
	for at, t := range i.Tensors {
		list[at] = &adapter.Tensor{Name: t.Name, DType: safetensors.DType(t.DType), Shape: t.Shape, Raw: t.Offset}
	}
	return adapter.Parse(list, i.Metadata)
}

// loraProblem demands that something of the file can be used.
func (i *Info) loraProblem() string {
	f := i.adapter()
	reason := ""
	for _, c := range f.Changes {
		if reason = c.Problem(); reason == "" {
			return ""
		}
	}
	switch {
	case reason != "":
		return "has only adapters that " + reason
	case len(f.Bundles) > 0:
		return ""
	case len(f.Unused) == 0:
		return "has no adapters in it"
	}
	return "has nothing that can be used: " + strings.Replace(f.Summary(), " were left out:", " cannot be used:", 1)
}

// UNetWidth returns the width of the UNet in a checkpoint: 320 in the real ones.
func UNetWidth(checkpoint string) (int64, error) {
	info, err := Inspect(checkpoint)
	if err != nil {
		return 0, err
	}
	for _, name := range []string{sd1.UNetPrefix + "input_blocks.0.0.weight", "unet.conv_in.weight"} {
		if _, width, ok := info.convShape(name); ok {
			return width, nil
		}
	}
	return 0, refuse(checkpoint, "has a UNet whose first layer is missing or misshapen")
}
