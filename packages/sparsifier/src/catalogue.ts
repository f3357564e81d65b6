export { kinds } from './model/model.js';
export { criteria, granularities, type CriterionEntry } from './options/catalogue.js';
