package sd1

// DepthAnything adds Depth Anything as Hugging Face's transformers store it: a DINOv2 of
// some width and number of layers with positions for side by side patches, and a head of
// so many features.
func (n *Net) DepthAnything(width, layers, side, features int64, channels [4]int64) {
	const backbone, patch = "backbone.", 14
	n.add(backbone+"embeddings.cls_token", Embedding, 1, 1, width)
	n.add(backbone+"embeddings.position_embeddings", Embedding, 1, 1+side*side, width)
	n.conv(backbone+"embeddings.patch_embeddings.projection", 3, width, patch)
	for i := range int(layers) {
		layer := at(backbone+"encoder.layer", i) + "."
		n.norm(layer+"norm1", width)
		n.norm(layer+"norm2", width)
		for _, part := range []string{"query", "key", "value"} {
			n.linear(layer+"attention.attention."+part, width, width)
		}
		n.linear(layer+"attention.output.dense", width, width)
		n.linear(layer+"mlp.fc1", width, 4*width)
		n.linear(layer+"mlp.fc2", 4*width, width)
		n.add(layer+"layer_scale1.lambda1", NormScale, width)
		n.add(layer+"layer_scale2.lambda1", NormScale, width)
	}
	n.norm(backbone+"layernorm", width)
	for i, c := range channels {
		layer := at("neck.reassemble_stage.layers", i)
		n.conv(layer+".projection", width, c, 1)
		switch i {
		case 0:
			n.conv(layer+".resize", c, c, 4)
		case 1:
			n.conv(layer+".resize", c, c, 2)
		case 3:
			n.conv(layer+".resize", c, c, 3)
		}
		n.add(at("neck.convs", i)+".weight", Weight, features, c, 3, 3)
		fusion := at("neck.fusion_stage.layers", i)
		n.conv(fusion+".projection", features, features, 1)
		for _, part := range []string{".residual_layer1.convolution1", ".residual_layer1.convolution2", ".residual_layer2.convolution1", ".residual_layer2.convolution2"} {
			n.conv(fusion+part, features, features, 3)
		}
	}
	n.conv("head.conv1", features, features/2, 3)
	n.conv("head.conv2", features/2, 32, 3)
	n.conv("head.conv3", 32, 1, 1)
}
