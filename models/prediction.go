package models

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"
)

// recognizePrediction says what the UNet of a checkpoint predicts, by the file
// itself: the trainer's note (modelspec.prediction_type) counts, else the marker
// tensors v_pred and ztsnr, whatever they hold. A config beside the file can still
// overrule it, see [Info.heedConfig].
func (i *Info) recognizePrediction() {
	i.VPrediction = i.has("v_pred")
	if note := strings.ToLower(i.Metadata["modelspec.prediction_type"]); note != "" {
		i.VPrediction = strings.HasPrefix(note, "v")
	}
	i.ZeroTerminalSNR = i.has("ztsnr")
}

// heedConfig reads the config beside a checkpoint, NAME.yaml, which A1111 loads
// the model by. Where it names a parameterization, that counts: the user put it
// there. A config that cannot be read makes the file unusable, since a picture by
// the wrong parameterization is noise.
func (i *Info) heedConfig() {
	name := ConfigName(i.Path)
	parameterization, err := configured(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		i.badConfig = fmt.Sprintf("has a config beside it, %s, which cannot be read: %v; mend it or move it away", name, err)
	case parameterization != "":
		i.VPrediction = parameterization == "v"
	}
}

// maxConfig bounds the size of a config; the usual ones have two kilobytes.
const maxConfig = 1 << 20

// CheckConfig decides whether a file is a config of a checkpoint, as the original code
// reads it.
func CheckConfig(name string) error {
	node, err := readConfig(name)
	if err == nil && valueOf(node, "model") == nil {
		err = errors.New("it describes no model")
	}
	if err != nil {
		return refuse(name, "is no config of a checkpoint: %v", err)
	}
	return nil
}

// readConfig parses a config.
func readConfig(name string) (*yaml.Node, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fs.ErrNotExist
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxConfig {
		return nil, fmt.Errorf("it is larger than %d bytes", maxConfig)
	}
	document := new(yaml.Node)
	if err := yaml.Unmarshal(raw, document); err != nil {
		return nil, err
	}
	if len(document.Content) > 0 {
		return document.Content[0], nil
	}
	return document, nil
}

// configured reads model.params.parameterization of a config of the original
// code, "" when the file says nothing about it.
func configured(name string) (string, error) {
	node, err := readConfig(name)
	if err != nil {
		return "", err
	}
	for _, key := range []string{"model", "params", "parameterization"} {
		node = valueOf(node, key)
	}
	if node == nil || node.Kind != yaml.ScalarNode {
		return "", nil
	}
	return strings.ToLower(strings.TrimSpace(node.Value)), nil
}

// valueOf looks a key up in a mapping. The last one counts, as in Python.
func valueOf(node *yaml.Node, key string) *yaml.Node {
	if node != nil && node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node == nil || node.Kind != yaml.MappingNode {
		return nil
	}
	var found *yaml.Node
	for at := 0; at+1 < len(node.Content); at += 2 {
		if node.Content[at].Value == key {
			found = node.Content[at+1]
		}
	}
	if found != nil && found.Kind == yaml.AliasNode {
		found = found.Alias
	}
	return found
}

// ConfigName is the name of the .yaml file that A1111 takes for the config of a
// checkpoint, whether or not there is one.
func ConfigName(checkpoint string) string {
	return strings.TrimSuffix(checkpoint, path.Ext(checkpoint)) + ".yaml"
}

// ConfigBeside is [ConfigName] where there is such a file, "" elsewhere.
func ConfigBeside(checkpoint string) string {
	name := ConfigName(checkpoint)
	if _, err := os.Stat(name); err != nil {
		return ""
	}
	return name
}
