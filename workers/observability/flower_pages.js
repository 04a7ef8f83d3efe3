// Flower's tables are laid out by the browser itself, and each cell knows its column, for windows where a row is a card.
(() => {
  const know = (table) => {
    const columns = [...table.querySelectorAll("thead th")].map((cell) => cell.textContent.trim());
    if (!columns.length) return;
    table.dataset.cards = "";
    for (const row of table.querySelectorAll("tbody tr, tfoot tr")) {
      if (row.children.length !== columns.length) continue;  // "no tasks": one cell across all columns
      [...row.children].forEach((cell, index) => { cell.dataset.column = columns[index]; });
    }
  };
  addEventListener("DOMContentLoaded", () => {
    const $ = window.jQuery;
    const make = $.fn.DataTable;
    $.fn.DataTable = function (options) {
      return make.call(this, $.extend({}, options, {scrollX: false, scrollCollapse: false, autoWidth: false}));
    };
    $.extend($.fn.DataTable, make);
    $(document).on("draw.dt", (event) => know(event.target));
    document.querySelectorAll("main table").forEach(know);
  });
})();
