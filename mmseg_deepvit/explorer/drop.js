// Files that are dropped anywhere on the page go to its upload element.
function dropAnywhere(id) {
  const mark = (on) => document.body.classList.toggle("dropping", on);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) mark(false);
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    const files = [...event.dataTransfer.files].slice(0, 1);
    if (files.length) getElement(id).$refs.qRef.addFiles(files);
  });
}
