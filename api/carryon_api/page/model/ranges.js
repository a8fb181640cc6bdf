/**
 * Index sets as the API writes them: "0-8,11" are the first nine and the twelfth. Work on the text's ranges, never on
 * an object per index: a stage may have 100,000.
 */

/**
 * Ranges of an index set, in order.
 * @param {string} text
 * @returns {[number, number][]} First and last index of each.
 */
export function parse(text) {
  if (!text) return [];
  return text.split(",").map((part) => {
    const [, first, last = first] = /^(\d+)(?:-(\d+))?$/.exec(part) ?? [];
    if (first === undefined || Number(last) < Number(first)) throw new RangeError(`"${part}" is no range of indexes`);
    return [Number(first), Number(last)];
  });
}

/**
 * How many indexes are in a set.
 * @param {string} text
 */
export function count(text) {
  return parse(text).reduce((sum, [first, last]) => sum + last - first + 1, 0);
}

/**
 * Write a value at every index of a set; what lies beyond the array is left out.
 * @param {Uint8Array} into
 * @param {string} text
 * @param {number} value
 */
export function fill(into, text, value) {
  for (const [first, last] of parse(text)) into.fill(value, first, last + 1);
}

/**
 * A set's text from indexes in rising order.
 * @param {Iterable<number>} indexes
 */
export function format(indexes) {
  /** @type {[number, number][]} */
  const ranges = [];
  for (const index of indexes) {
    const end = ranges.at(-1);
    if (end && end[1] === index - 1) end[1] = index;
    else ranges.push([index, index]);
  }
  return ranges.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(",");
}
