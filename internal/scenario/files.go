package scenario

import pb "github.com/loadline/loadline/proto/loadline/v1"

// File is a file that the scenario names and whose content belongs to its digest.
type File struct {
	// Field is the path of the field that names it, as workloads[0].dataset.file.
	Field string
	// Path as written in the scenario.
	Path string
}

// Files lists the data sets, body files, descriptor sets and .proto files of a scenario, in its order.
// What .proto files import is not among them, nor are files of secrets and certificates: those are
// read on the agents and differ from one to another.
func Files(s *pb.Scenario) []File {
	var files []File
	for i, t := range s.GetTargets() {
		p := (*path)(nil).field("targets").index(i)
		if t.HasDescriptorSet() {
			files = append(files, File{p.field("descriptor_set").text, t.GetDescriptorSet()})
		}
		for j, name := range t.GetProtoFiles() {
			files = append(files, File{p.field("proto_files").index(j).text, name})
		}
	}
	for i, w := range s.GetWorkloads() {
		p := (*path)(nil).field("workloads").index(i)
		if w.HasDataset() {
			files = append(files, File{p.field("dataset").field("file").text, w.GetDataset().GetFile()})
		}
		h := p.field("http")
		if w.GetHttp().HasBodyFile() {
			files = append(files, File{h.field("body_file").text, w.GetHttp().GetBodyFile()})
		}
		if w.GetHttp().HasDataset() {
			files = append(files, File{h.field("dataset").field("file").text, w.GetHttp().GetDataset().GetFile()})
		}
		if w.GetGrpc().HasDataset() {
			files = append(files, File{p.field("grpc").field("dataset").field("file").text, w.GetGrpc().GetDataset().GetFile()})
		}
	}
	return files
}
